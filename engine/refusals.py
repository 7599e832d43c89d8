"""Which parts cannot work together, and why: found from what they declare, before anything runs.

What a part declares is listed in engine/parts.py; nothing is imported, trained or drawn for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from engine._tokenizers import digest_of
from engine.commands import mismatch, placeholders
from engine.files import expanded
from engine.knowledge import OF_DATA, OF_ROWS
from engine.parts import Params, PartDict
from engine.registry import KINDS, Description, command_lines, describe
from engine.samples import Traits

VERBS = {"generator": "learns", "sampling": "draws", "reward": "judges", "metric": "measures"}
When = Mapping[str, tuple[Any, ...]]  # parameter (or GIVES): its values


class Chosen(Protocol):
    """A part with its parameters (engine/spec.py)."""

    @property
    def kind(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def params(self) -> Params: ...
    @property
    def traits(self) -> Traits: ...
    @property
    def conditional(self) -> bool: ...
    def trait(self, name: str) -> Any: ...
    def constant(self, name: str) -> Any: ...


def refusals(dataset: Chosen, generator: Chosen, sampling: Chosen) -> list[str]:
    """Why this generator and this sampling cannot work on this data; nothing where they can."""
    learns = _not_accepted("generator", generator.name, generator.params, dataset)
    learns = learns or _misled(dataset, generator, sampling) or _of_records(dataset, generator)
    learns = learns or _of_another_tokenizer(dataset, generator)
    learns = learns or _of_generator(dataset, generator)
    if learns:
        return [learns]
    found = _of("sampling", sampling.name, sampling.params, dataset, generator)
    return list(dict.fromkeys(found))


def _misled(dataset: Chosen, generator: Chosen, sampling: Chosen) -> str:
    """Why a command line that draws does not go with these labels or this sampling, or ''."""
    line = command_lines("generator", generator.name, generator.params).get("sample")
    if line is None:
        return ""
    why = mismatch(line, generator.conditional)
    if not why and generator.conditional and dataset.traits.classes == 0:
        why = f"conditional is on, but the data set {dataset.name} has no class labels"
    biased = "sampling_bias" in describe("sampling", sampling.name).parameters
    if not why and biased and "bias" not in placeholders(line):
        why = f"the sampling {sampling.name} needs {{bias}} in the sample line, which has none"
    return f"{generator.name}: {why}" if why else ""


def _of_records(dataset: Chosen, generator: Chosen) -> str:
    """Why a generator cannot learn a prompt and its completion, or ''."""
    if not dataset.trait("RECORDS") or "completions" in generator.trait("KNOWS"):
        return ""
    return (
        f"{generator.name} learns texts of one length, but {dataset.name} gives records, whose "
        "prompts are given and whose completions count; use a generator that knows completions"
    )


def _of_another_tokenizer(dataset: Chosen, generator: Chosen) -> str:
    """Why a pretrained generator cannot read how a text is encoded, or ''; '' where only absent
    files could tell.
    """
    switch = generator.constant("TOKENIZER")
    folder = generator.params.get(switch) if switch else None
    if folder is None or dataset.traits.vocabulary is None:
        return ""
    own = dataset.traits.tokenizer
    try:
        if own is not None and own.digest == digest_of(Path(expanded(folder))):
            return ""
    except FileNotFoundError:
        if own is not None:
            return ""
    except (OSError, ValueError) as error:
        return f"{generator.name}: {switch}: {error}"
    has = "no pretrained tokenizer" if own is None else "another tokenizer"
    return (
        f"{generator.name}: {has} encoded the text of {dataset.name}, and {switch} {folder} knows "
        f"its own alone; give tokens: {{tokenizer: {folder}}} to a data set of text"
    )


def _prompted(kind: str, name: str, params: Mapping[str, Any], dataset: Chosen) -> str:
    """Why a part cannot give the first tokens of real texts, or ''."""
    known, length = describe(kind, name), dataset.trait("LENGTH")
    given, switch = known.trait("PROMPTS", params), known.constants.get("PROMPTS")
    if given and dataset.trait("RECORDS"):
        return (
            f"{name}: {switch} {given} does not go with {dataset.name}, whose records have prompts "
            f"of their own; leave {switch} out"
        )
    if not given or length is None or given < length:
        return ""
    return (
        f"{name}: {switch} must be below the length of the texts of {dataset.name}, {length:,}, "
        f"got {given:,}"
    )


def _of_generator(dataset: Chosen, generator: Chosen) -> str:
    """Why these data lack what a generator needs with its parameters, or ''."""
    described = describe("generator", generator.name)
    needed = _needs(described, generator.params, dataset.traits.kind)
    lacks = [need for need in needed if not _any_met(need, dataset, generator, False)]
    return _unmet(generator.name, lacks[0], dataset, generator) if lacks else ""


def _too_short(kind: str, name: str, params: Mapping[str, Any], dataset: Chosen, given: int) -> str:
    """Why a part looks at more tokens together than a text has beyond those given, or ''."""
    known, length = describe(kind, name), dataset.trait("LENGTH")
    spans, switch = known.trait("SPANS", params), known.constants.get("SPANS")
    if length is None or not spans or spans <= length - given:
        return ""
    beyond = f" beyond the {given:,} that are given" if given else ""
    return (
        f"{name}: {switch} {spans:,} is more than the tokens of a text of {dataset.name}{beyond}, "
        f"{length - given:,}"
    )


def _whole(kind: str, name: str, params: Mapping[str, Any], dataset: Chosen) -> str:
    """Why a part that takes rows as they are cannot take records, or ''."""
    if not dataset.trait("RECORDS") or describe(kind, name).trait("RECORDS", params):
        return ""
    return (
        f"{name} {VERBS[kind]} texts of one length, but {dataset.name} gives records, of which "
        "only the completions count"
    )


def misshapen(generator: Chosen, shape: tuple[int, ...]) -> str:
    """Why a generator cannot learn images of this shape (height, width, channels), or ''."""
    halves = generator.trait("HALVES")
    if halves is None or len(shape) != 3:
        return ""
    name, usual = halves
    given = describe("generator", generator.name).value(name, generator.params)
    often = usual if given is None else given
    if not any(side % 2**often for side in shape[:2]):
        return ""
    return (
        f"{generator.name} halves height and width {often} times ({name}), so they must be "
        f"multiples of {2**often}; the data set has {shape[0]} x {shape[1]} pixels"
    )


def lacking(
    metric: Chosen,
    dataset: Chosen,
    generator: Chosen,
    sampling: Chosen | None = None,
    tasks: bool = False,
) -> str:
    """Why a metric has no value on this data under this generator, drawn so, or ''.

    tasks: whether it is to compare with some classes of the data at a time.
    """
    labelled = sampling is not None and labels(sampling.name, sampling.params)
    found = _of("metric", metric.name, metric.params, dataset, generator, labelled=labelled)
    return next(found, "") or (_of_all_classes(metric, dataset) if tasks else "")


def _of_all_classes(metric: Chosen, dataset: Chosen) -> str:
    """Why a metric cannot be told of some classes of the data, or ''."""
    for need in _needs(describe("metric", metric.name), metric.params, dataset.traits.kind):
        words = [word.partition(".") for word in need.split("|")]
        told = [what for whose, _, what in words if whose != "data" or what not in OF_DATA]
        if not told and not {what for *_, what in words} & {*OF_ROWS}:
            return (
                f"{metric.name} needs the {words[0][2]} of the data set {dataset.name}, which are "
                "those of all its classes; leave it out of a stream of tasks"
            )
    return ""


def labels(sampling: str, params: Params) -> bool:
    """Whether a sampling labels what it draws, by itself or by the one inside it, whatever the
    generator does.
    """
    own = describe("sampling", sampling).trait("LABELS", params)
    return _inner_labels(params.get(own)) if isinstance(own, str) else bool(own)


def _inner_labels(inner: PartDict | None) -> bool:
    if inner is None:
        return False
    return labels(inner["name"], {key: value for key, value in inner.items() if key != "name"})


def unmeasurable(metric: Chosen, dataset: Chosen) -> str:
    """Why a metric cannot even be prepared on this data, whatever the generator; or ''."""
    described = describe("metric", metric.name)
    reason = _not_accepted("metric", metric.name, metric.params, dataset)
    needs_labels = "data.labels" in _needs(described, metric.params, dataset.traits.kind)
    if not reason and needs_labels and dataset.traits.classes == 0:
        return _unmet(metric.name, "data.labels", dataset, None)
    return reason


def _of(
    kind: str,
    name: str,
    params: Mapping[str, Any],
    dataset: Chosen,
    generator: Chosen,
    prompted: int | None = None,
    labelled: bool = False,
) -> Iterator[str]:
    """Why a part cannot work here: its own reasons, then those of the parts nested in it.

    prompted: how many tokens of real texts what a reward judges goes on from, 0 of records; None:
              from none.
    labelled: whether what a part is given is labelled, whatever the generator does.
    """
    labelled = labelled or _inner_labels(params.get("sampling"))
    reason = _not_accepted(kind, name, params, dataset) or _whole(kind, name, params, dataset)
    reason = reason or _prompted(kind, name, params, dataset)
    reason = reason or _too_short(kind, name, params, dataset, prompted or 0)
    if reason:
        yield reason
        return
    for need in _needs(describe(kind, name), params, dataset.traits.kind):
        met = (
            prompted is not None
            if need == "draws.prompts"
            else _any_met(need, dataset, generator, labelled)
        )
        if not met:
            yield _unmet(name, need, dataset, generator)
    prompted = _prompts(params.get("sampling"), bool(dataset.trait("RECORDS")))
    for inner, value in params.items():
        if inner in KINDS and isinstance(value, dict):
            own = {key: each for key, each in value.items() if key != "name"}
            judged = labelled and inner == "reward"
            yield from _of(inner, value["name"], own, dataset, generator, prompted, judged)


def _prompts(sampling: PartDict | None, records: bool) -> int | None:
    """How many first tokens of real texts a sampling goes on from; 0 where these are the prompts of
    records; None: from none, or it is a judge, whose draws no longer say from which.
    """
    if sampling is None:
        return None
    params = {key: value for key, value in sampling.items() if key != "name"}
    known = describe("sampling", sampling["name"])
    own: int = known.trait("PROMPTS", params)
    if own or (records and known.constants.get("PROMPTS")):
        return own
    return None


def _not_accepted(kind: str, name: str, params: Mapping[str, Any], dataset: Chosen) -> str:
    """Why a part takes no such data, or ''."""
    described, gives = describe(kind, name), dataset.traits.kind
    accepts = described.trait("ACCEPTS", params)
    if accepts is None:
        return ""
    if gives not in accepts:
        return f"{name} {VERBS[kind]} {', '.join(accepts)}, but {dataset.name} gives {gives}"
    when: When = accepts[gives] if isinstance(accepts, dict) else {}
    for parameter, allowed in when.items():
        value = described.value(parameter, params)
        if value not in allowed:
            wanted = " or ".join(map(str, allowed))
            return (
                f"{name} with {parameter} {value} does not go with {gives}, which {dataset.name} "
                f"gives; there {parameter} must be {wanted}"
            )
    return ""


def _needs(described: Description, params: Mapping[str, Any], gives: str) -> list[str]:
    """What a part with these parameters needs on data of this kind."""
    found = []
    for need, when in described.trait("NEEDS", params).items():
        values = {key: gives if key == "GIVES" else described.value(key, params) for key in when}
        if all(values[key] in allowed for key, allowed in when.items()):
            found.append(need)
    return found


def _any_met(need: str, dataset: Chosen, generator: Chosen, labelled: bool) -> bool:
    return any(_met(word, dataset, generator, labelled) for word in need.split("|"))


def _met(word: str, dataset: Chosen, generator: Chosen, labelled: bool) -> bool:
    whose, _, what = word.partition(".")
    if word == "data.texts":
        return not dataset.trait("RECORDS")
    classes = dataset.traits.classes != 0  # None: only the data could tell
    if what == "labels":
        return classes and (whose == "data" or generator.conditional or labelled)
    owner = dataset if whose == "data" else generator
    return what in owner.trait("KNOWS")


def _unmet(name: str, need: str, dataset: Chosen, generator: Chosen | None) -> str:
    if need == "data.labels" or (need == "draws.labels" and dataset.traits.classes == 0):
        return f"{name} needs class labels, and the data set {dataset.name} has none"
    if need == "draws.prompts":
        inner = "decode" if dataset.trait("RECORDS") else "{name: decode, prompt: ...}, above 0"
        return (
            f"{name} compares with what a real text goes on with, and nothing that it judges goes "
            f"on from a real text; give the sampling that judges sampling: {inner}"
        )
    if need == "data.texts":
        return (
            f"{name} learns from whole texts what it judges by, and {dataset.name} gives records; "
            "give by: model"
        )
    assert generator is not None
    if need == "draws.labels":
        switch = generator.constant("CONDITIONAL")
        mend = f" (its parameter {switch} is off)" if isinstance(switch, str) else ""
        return f"{name} needs labelled samples, and the generator {generator.name} draws none{mend}"
    wanted = " or ".join(word.partition(".")[2] for word in need.split("|"))
    owner = f"data set {dataset.name}"
    if need.startswith("model."):
        owner = f"generator {generator.name}"
    return f"{name} needs the {wanted} of the {owner}, which tells none"
