// Comfort only; without it the page says the same. Tips stand beside their token instead of at the
// edge of the window, the arrow keys walk through tokens as one stop of the Tab key, and a pointer
// over a chart reads off the means.
"use strict";
(() => {
  const near = (box, x, y, gap) => {
    const size = box.getBoundingClientRect();
    const left = Math.min(Math.max(4, x), innerWidth - size.width - 4);
    const below = y + gap + size.height < innerHeight;
    box.style.left = `${Math.max(4, left)}px`;
    box.style.top = `${below ? y + gap : Math.max(4, y - gap - size.height)}px`;
  };

  for (const heat of document.querySelectorAll(".heat")) {
    heat.classList.add("placed");
    const tokens = [...heat.querySelectorAll(".tok")];
    const place = (token) => {
      const at = token.getClientRects()[0];
      if (at) near(token.querySelector(".tip"), at.left, (at.top + at.bottom) / 2, at.height / 2 + 8);
    };
    tokens.forEach((token, i) => {
      token.tabIndex = i ? -1 : 0;
      token.addEventListener("pointerenter", () => place(token));
      token.addEventListener("focus", () => {
        for (const other of tokens) other.tabIndex = -1;
        token.tabIndex = 0;
        place(token);
      });
      token.addEventListener("keydown", (event) => {
        const last = tokens.length - 1;
        const to = { ArrowRight: i + 1, ArrowDown: i + 1, ArrowLeft: i - 1, ArrowUp: i - 1, Home: 0, End: last }[event.key];
        if (event.key === "Escape") token.blur();
        if (to === undefined || !tokens[to]) return;
        event.preventDefault();
        tokens[to].focus();
      });
    });
    addEventListener("scroll", () => {
      const open = heat.querySelector(".tok:focus");
      if (open) place(open);
    }, { passive: true });
  }

  const readout = document.createElement("div");
  readout.className = "readout";
  readout.setAttribute("aria-hidden", "true");
  document.body.append(readout);
  const line = (left, right, strong) => {
    const row = document.createElement("div");
    const name = document.createElement("span");
    const value = document.createElement(strong ? "b" : "span");
    name.textContent = left;
    value.textContent = right;
    row.append(name, value);
    return row;
  };
  for (const chart of document.querySelectorAll("svg[data-readout]")) {
    const told = JSON.parse(chart.dataset.readout);
    const cursor = document.createElementNS("http://www.w3.org/2000/svg", "line");
    cursor.setAttribute("class", "cursor");
    cursor.setAttribute("y1", told.top);
    cursor.setAttribute("y2", told.floor);
    chart.addEventListener("pointermove", (event) => {
      const inside = new DOMPoint(event.clientX, event.clientY).matrixTransform(chart.getScreenCTM().inverse());
      let best = 0;
      told.x.forEach((x, i) => { if (Math.abs(x - inside.x) < Math.abs(told.x[best] - inside.x)) best = i; });
      cursor.setAttribute("x1", told.x[best]);
      cursor.setAttribute("x2", told.x[best]);
      chart.append(cursor);
      readout.replaceChildren(line(told.along ?? "step", told.step[best], false));
      for (const [name, values] of told.arms) if (values[best]) readout.append(line(name, values[best], true));
      readout.classList.add("on");
      // At the top, right of the pointer: curves of a loss leave that corner empty.
      near(readout, event.clientX + 14, chart.getBoundingClientRect().top, 24);
    });
    chart.addEventListener("pointerleave", () => {
      cursor.remove();
      readout.classList.remove("on");
    });
  }

  addEventListener("beforeprint", () => {
    for (const details of document.querySelectorAll("details.in-print")) details.open = true;
  });
})();
