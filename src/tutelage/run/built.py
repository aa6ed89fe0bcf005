"""What building a cache came to, for people and as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from tutelage.stores.manifest import SHARDS, Description, Manifest


@dataclass(frozen=True)
class CacheTold:
    """What is in a cache: the answer of `build`, `import` and `info`.

    Attributes:
        place: where it is.
        description: all that its content follows from.
        manifest: what it is made of, and what was measured.
        speed: tokens and bytes a second, where this command measured them.
        notes: lines of an import about what was taken and what was left.
    """

    place: str
    description: Description
    manifest: Manifest
    speed: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def bytes_per_token(self) -> float:
        """Size of the whole cache over its counted tokens."""
        return self.manifest.bytes / max(self.manifest.tokens, 1)

    def to_json(self) -> dict[str, Any]:
        """The document of `--json`."""
        of = self.manifest
        shards = sum(file.bytes for name, file in of.files.items() if name.startswith(SHARDS))
        return {
            "place": self.place,
            "identity": of.identity,
            "kind": self.description.form["kind"],
            "form": dict(self.description.form),
            "rows": of.rows,
            "tokens": of.tokens,
            "bytes": of.bytes,
            "bytes_in_shards": shards,
            "shards": len(of.shards),
            "bytes_per_token": self.bytes_per_token,
            "measured": dict(of.measured),
            "speed": dict(self.speed),
            "recorded": dict(of.recorded),
            "description": asdict(self.description),
            "notes": list(self.notes),
        }

    def text(self) -> str:
        """For people."""
        of, form = self.manifest, self.description.form
        options = ", ".join(f"{key} {value}" for key, value in form.items() if key != "kind")
        lines = {
            "cache": f"{self.place} ({of.identity[:12]})",
            "kind": f"{form['kind']}, {options}",
            "teacher": _teacher(of, self.description),
            "text": ", ".join(of.recorded.get("text", ["unknown"])),
            "rows": f"{of.rows:,} rows of {of.tokens:,} counted tokens in {len(of.shards)} shards",
            "size": f"{of.bytes:,} bytes, {self.bytes_per_token:,.1f} bytes per token",
            **_measures(of.measured),
        }
        if "built_tokens_per_second" in self.speed:
            lines["built at"] = f"{self.speed['built_tokens_per_second']:,.0f} tokens/s"
        if "tokens_per_second" in self.speed:
            lines["read at"] = (
                f"{self.speed['tokens_per_second']:,.0f} tokens/s, "
                f"{self.speed['bytes_per_second'] / 2**20:,.0f} MiB/s (random rows, page cache warm)"
            )
        width = max(map(len, lines))
        return "\n".join([*(f"{name:<{width}}  {said}" for name, said in lines.items()), *self.notes])


def _teacher(manifest: Manifest, description: Description) -> str:
    name = manifest.recorded.get("teacher") or "unknown"
    parameters = manifest.recorded.get("parameters")
    of = f", {parameters:,} parameters" if parameters else ""
    return f"{name}{of}" + (f", computed in {description.dtype}" if description.dtype else "")


def _measures(found: Mapping[str, Any]) -> dict[str, str]:
    if not found:
        return {"loss": "not measured: the teacher was not asked"}
    where = f"n = {found['tokens']:,} tokens in {found['rows']} rows of {found['where']}"
    lines = {}
    if "kl_nats" in found:
        lines["KL(teacher || cache)"] = f"{_interval(found['kl_nats'])} nats per token ({where}, 95 %)"
    if "gap_nats" in found and "kl_nats" in found:
        lines["gap of KL to student"] = f"{_interval(found['gap_nats'])} nats per token"
    elif "gap_nats" in found:
        lines["error of the estimate"] = f"{_interval(found['gap_nats'])} nats per token ({where}, 95 %)"
        lines["spread of the estimate"] = f"{found['spread_nats']:.4g} nats at a token (standard deviation)"
    return lines or {"loss": f"not measured: the source is itself a cut distribution ({where})"}


def _interval(said: Mapping[str, float | None]) -> str:
    mean, low, high = said["mean"], said["low"], said["high"]
    ends = f" [{low:.3g}, {high:.3g}]" if low is not None and high is not None else ""
    return f"{mean:.3g}{ends}"
