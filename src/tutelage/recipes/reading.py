"""From the tree of a recipe to its words: every key known, every value of its type, every name in a table."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tutelage.errors import TutelageError, listed, nearest
from tutelage.recipes.faults import Faults, Spot
from tutelage.recipes.foreign import instead
from tutelage.recipes.overlay import expanded
from tutelage.recipes.places import Place, find
from tutelage.recipes.shelf import families
from tutelage.recipes.tree import Node
from tutelage.recipes.values import NONE, Mismatch, fitted, wanted
from tutelage.recipes.words import Evaluation, SamplesWord, StudentWord, TeacherWord, Term, Training, Word
from tutelage.registry import Entry, Option, Table, options

PLACES = ("model", "tokenizer", "data", "probe")
"""Options of any entry that name a model or data: a path or a hub name."""

TERM = Entry("tutelage.objective:Term")
STUDENT = Entry("tutelage.recipes.words:StudentWord")
TRAINING = Entry("tutelage.recipes.words:Training")
EVALUATION = Entry("tutelage.recipes.words:Evaluation")
HOMES = {"training": TRAINING, "evaluation": EVALUATION}


class Reader:
    """Reads the words of one recipe; what is wrong is added to ``faults`` and reading goes on.

    Each method gives back None where there was nothing to be made of what the recipe says.

    Args:
        faults: where faults go.
        folder: the recipe's folder, for relative paths.
    """

    def __init__(self, faults: Faults, folder: Path | None) -> None:
        self.faults = faults
        self.folder = folder

    def teacher(self, node: Node) -> TeacherWord | None:
        """A teacher: a path or hub name, a mapping with ``kind``, or ``none``."""
        if node.value in NONE:
            return None
        read = self._word(node, "teacher", families()["teachers"])
        return TeacherWord(read.kind, read.options) if read else None

    def samples(self, node: Node) -> SamplesWord | None:
        """The samples: a mapping with ``kind``."""
        read = self._word(node, "samples", families()["samples"])
        return SamplesWord(read.kind, read.options) if read else None

    def word(self, node: Node, key: str, family: str) -> Word | None:
        """An estimator or a constraint: a name, or a mapping with ``kind``."""
        return self._word(node, key, families()[family])

    def plan(self, node: Node) -> str:
        """The plan, of which a recipe knows only ``none``: the table's names are questions asked before."""
        if node.value not in NONE:
            name = node.shown().strip("'\"")
            asked = f"`tutelage plan {name}` is asked before a run" if name in families()["plans"] else ""
            self.faults.add(
                node.spot,
                f"unknown plan {node.shown()}",
                expected="none: how long a run takes is said under `training`",
                fix=f"write `plan: none`; {asked or '`tutelage plan` tells what to spend'}",
            )
        return "none"

    def student(self, node: Node) -> StudentWord | None:
        """The student: a path or hub name, ``{model}`` or ``{config, tokenizer}``."""
        node = expanded("student", node)
        given = self._record(node, "student", STUDENT)
        if given is None:
            return None
        model, config, tokenizer = given["model"], given["config"], given["tokenizer"]
        if isinstance(config, str):
            config = self._place(node.value["config"], "config", config)
        if (model is None) == (config is None):
            self.faults.add(
                node.spot,
                "`student` has both `model` and `config`"
                if model
                else "`student` has no `model` and no `config`",
                expected="one of the two: a model that exists, or the config of a new one",
                fix="write `student: PATH`, or `student: {config: {model_type: gpt2, ...}, tokenizer: PATH}`",
            )
            return None
        if config is not None and tokenizer is None:
            self._missing(node, "student.tokenizer", "a folder or hub name of a tokenizer")
        if isinstance(config, Mapping) and not isinstance(config.get("model_type"), str):
            self._missing(node.value["config"], "student.config.model_type", "a name such as gpt2 or llama")
        lora = {name: given[name] for name in ("lora_rank", "lora_alpha", "lora_targets")}
        for name in ("lora_alpha", "lora_targets"):
            if lora[name] is not None and lora["lora_rank"] is None:
                self.faults.add(
                    node.value[name].spot,
                    f"`student.{name}` without `lora_rank`",
                    expected="a rank: without one the weights themselves are trained",
                    fix="add `lora_rank: 8`",
                )
        return StudentWord(model, config, tokenizer, **lora)

    def objective(self, node: Node) -> tuple[Term, ...]:
        """The list of terms; an empty list is left to whoever knows whether arms fill it."""
        if not isinstance(node.value, list):
            self._mismatch(node, "objective", "a list of terms, or one `divergence:` instead")
            return ()
        terms = [self.term(item, f"objective.{i}") for i, item in enumerate(node.value)]
        return tuple(term for term in terms if term is not None)

    def term(self, node: Node, key: str) -> Term | None:
        """One term: a name, or a mapping of ``divergence`` (or ``kind``), its options and `Term`'s keys."""
        node = expanded("divergence", node)
        if not isinstance(node.value, dict):
            self._mismatch(node, key, "a divergence by name, or a mapping with its name and options")
            return None
        said = dict(node.value)
        inner = said.pop("divergence", None)
        if inner is not None:
            # {divergence: {kind: jensen_shannon, beta: 0.3}, weight: 0.9}
            said |= expanded("divergence", inner).value if isinstance(inner.value, dict | str) else {}
        node = Node(said, node.spot)
        table = families()["divergences"]
        entry = self._entry(node, key, table)
        if entry is None:
            return None
        name, found = entry
        if not found.trains:
            trainable = [one for one in table if table[one].trains]
            self.faults.add(
                said["kind"].spot,
                f"'{name}' is a measure for reports and has no gradient",
                expected=listed(trainable),
                fix=f"write `divergence: forward_kl`; the reports show {name} anyway",
            )
            return None
        shared = {
            word: option for word, option in options(TERM).items() if word not in ("divergence", "options")
        }
        given = self._options(node, key, {**shared, **options(found)})
        if given is None:
            return None
        if "against" not in said:
            given["against"] = found.against
        own = {word: given.pop(word) for word in shared}
        return Term(name, given, **own)

    def training(self, node: Node) -> Training | None:
        """How long and how fast; see `Training`."""
        given = self._record(node, "training", TRAINING)
        if given is None:
            return None
        if given["lr_scheduler_type"] == "constant" and (given["warmup_steps"] or given["warmup_ratio"]):
            self.faults.add(
                node.value["lr_scheduler_type"].spot,
                "a `constant` rate has no warm-up",
                expected="`constant_with_warmup`, or no `warmup_steps` and no `warmup_ratio`",
                fix="write `lr_scheduler_type: constant_with_warmup`",
            )
        return Training(**given)

    def evaluation(self, node: Node) -> Evaluation | None:
        """What is measured on held-out text; see `Evaluation`."""
        if node.value in NONE:
            return None
        given = self._record(node, "evaluation", EVALUATION)
        return Evaluation(**given) if given is not None else None

    def value(self, node: Node, key: str, annotation: str) -> Any:
        """One value of a type, or None."""
        try:
            return fitted(annotation, node, self._member)
        except Mismatch as mismatch:
            self._mismatch(mismatch.node, key, mismatch.expected, mismatch.fix)
            return None

    def unknown(self, spot: Spot, key: str, name: str, known: Mapping[str, Any]) -> None:
        """A key that is not among the known ones, with the nearest, or what to write instead."""
        home = next((home for home, entry in HOMES.items() if name in options(entry) and home != key), None)
        close, inside = nearest(name, known), f" in `{key}`" if key else ""
        fix = instead(name) or (home and f"write it under `{home}:`")
        fix = fix or (close and f"write `{close}:` (the nearest name)")
        self.faults.add(
            spot,
            f"unknown key '{name}'{inside}",
            expected=listed(known) if known else f"no options{inside}",
            fix=fix or "delete the line; the recipe reference explains every key",
        )

    def _member(self, node: Node) -> TeacherWord | None:
        if node.value in NONE:
            raise Mismatch(node, "a teacher", "name a model, or take the item out of the list")
        return self.teacher(node)

    def _word(self, node: Node, key: str, table: Table) -> Word | None:
        node = expanded(key, node)
        if not isinstance(node.value, dict):
            self._mismatch(node, key, f"a name ({listed(table)}), or a mapping with `kind` and options")
            return None
        entry = self._entry(node, key, table)
        if entry is None:
            return None
        name, found = entry
        given = self._options(node, key, options(found))
        return Word(name, given) if given is not None else None

    def _entry(self, node: Node, key: str, table: Table) -> tuple[str, Entry] | None:
        kind = node.value.get("kind")
        if kind is None:
            self._missing(node, f"{key}.kind", listed(table))
            return None
        if not isinstance(kind.value, str) or kind.value not in table:
            name = kind.value if isinstance(kind.value, str) else kind.shown()
            self.faults.tell(kind.spot, table.unknown(name, f"{kind.spot.text}: "))
            return None
        return kind.value, table[kind.value]

    def _record(self, node: Node, key: str, entry: Entry) -> dict[str, Any] | None:
        if node.value is None:
            node = Node({}, node.spot)
        if not isinstance(node.value, dict):
            self._mismatch(node, key, f"a mapping with {listed(options(entry), 'and')}")
            return None
        return self._options(node, key, options(entry))

    def _options(self, node: Node, key: str, known: Mapping[str, Option]) -> dict[str, Any] | None:
        """The options of a mapping, defaults filled in; None if one of them is at fault."""
        before = self.faults.told
        given: dict[str, Any] = {}
        for name, item in node.value.items():
            if name == "kind":
                continue
            if name not in known:
                self.unknown(item.spot, key, name, known)
                continue
            value = self.value(item, f"{key}.{name}", known[name].annotation)
            if name in PLACES:
                value = self._places(item, name, value)
            if name == "cache" and isinstance(value, str):
                value = self._cache(item, value)
            given[name] = value
        for name, option in known.items():
            if option.required and name not in given:
                self._missing(node, f"{key}.{name}", wanted(option.annotation))
        if self.faults.told > before:
            return None
        # In the order of the source, whatever the order of the file.
        return {name: given.get(name, option.default) for name, option in known.items()}

    def _places(self, node: Node, key: str, value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(self._places(node, key, item) for item in value)
        return self._place(node, key, value) if isinstance(value, str) else value

    def _place(self, node: Node, key: str, text: str) -> str:
        try:
            place = find(text, self.folder)
        except TutelageError as error:
            self.faults.add(node.spot, error.problem, expected=error.expected, fix=error.fix)
            return text
        if key in ("model", "probe"):
            self._is_model(node, place)
        return place

    def _cache(self, node: Node, text: str) -> str:
        """A cache of a teacher: an address as it is, or a folder that lies here."""
        if "://" in text:
            return Place(text)
        before = self.faults.told
        place = self._place(node, "cache", text)
        if self.faults.told == before and not Path(place).joinpath("manifest.json").is_file():
            self.faults.add(
                node.spot,
                f"no finished cache in '{text}': no `manifest.json` there",
                expected="a folder that `tutelage cache build` filled, or an address such as s3://bucket/name",
                fix=f"tutelage cache build RECIPE --out {text}",
            )
        return place

    def _is_model(self, node: Node, place: Place) -> None:
        """A model that lies here must be a folder with a config; a hub name is left to the hub."""
        path = Path(place)
        if path.exists() and not (path / "config.json").is_file():
            gguf = [path] if path.suffix.lower() == ".gguf" else sorted(path.glob("*.gguf"))
            self.faults.add(
                node.spot,
                f"no model in '{place.written}': {'only a GGUF file' if gguf else 'no `config.json`'} there",
                expected="a folder as `save_pretrained` writes it",
                fix=f"tutelage import {gguf[0]} FOLDER, once, and name that folder instead"
                if gguf
                else "name the folder itself, such as the `student` inside a run's folder",
            )

    def _missing(self, node: Node, key: str, expected: str) -> None:
        leaf = key.rpartition(".")[2]
        self.faults.add(
            node.spot, f"`{key}` is missing", expected=expected, fix=f"add a line `{leaf}: ...` there"
        )

    def _mismatch(self, node: Node, key: str, expected: str, fix: str | None = None) -> None:
        self.faults.add(
            node.spot,
            f"`{key}` is {node.shown()}",
            expected=expected,
            fix=fix or f"change the value of `{key.rpartition('.')[2]}`, or delete the line for its default",
        )
