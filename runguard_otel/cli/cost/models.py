"""Which models an agent's file names, or the installed plugins use by default. Nothing is imported.

A plugin's import starts what it likes, and an agent's file may start an agent: both are read as
text. What stands there as an expression is said to be unknown.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Final, NamedTuple

from runguard_otel.adapters.livekit.facts.models import tier_suffix
from runguard_otel.cli.agent_file import parsed
from runguard_otel.cost.defaults import COMPONENT_OF, Default, defaults

__all__ = ["Use", "installed", "named_in"]

_PREFIX: Final = "livekit-plugins-"
_COMPUTED: Final = "the model is computed when it runs"
_TIER_COMPUTED: Final = "its service tier is computed when it runs"
_ELSEWHERE: Final = "another provider behind this plugin's client: its price is not known"
_INFERENCE: Final = ("stt", "llm", "tts")


class Use(NamedTuple):
    """A model that is used.

    Args:
        component: ``stt``, ``llm`` or ``tts``.
        what: Where: a class of a plugin, or a keyword of the session.
        provider: As LiveKit names it.
        model: As LiveKit names it, with ``:multi`` for a recogniser of several languages, and
            ``:priority`` for a language model that is asked in that service tier.
        where: Line of the file, or release of the plugin.
        unpriced: Why no price can be told, if that is known.
    """

    component: str
    what: str
    provider: str
    model: str
    where: str
    unpriced: str = ""


# -- installed plugins --------------------------------------------------------------------------


def installed(found: Iterator[Distribution] | None = None) -> list[Use]:
    """What the installed plugins use if nobody names a model.

    Args:
        found: Distributions to look at; all that are installed if not given.
    """
    uses: list[Use] = []
    for one in found or distributions():
        name = str(one.metadata["Name"] or "").lower().replace("_", "-")
        if name == "livekit-agents":
            uses += [_default(row, one.version) for row in _known("inference")]
        elif name.startswith(_PREFIX):
            uses += _of_plugin(name.removeprefix(_PREFIX).replace("-", "_"), one)
    return sorted(dict.fromkeys(uses))


def _known(plugin: str) -> list[Default]:
    return [row for row in defaults().rows if row.plugin == plugin]


def _default(row: Default, version: str) -> Use:
    what = f"{row.plugin}.{row.name}"
    return Use(row.component, what, row.provider, row.model, version, row.unpriced)


def _of_plugin(plugin: str, one: Distribution) -> Iterator[Use]:
    """Its classes; where its own text says another default than our table, the text is right."""
    said = _defaults_in_text(one)
    known = _known(plugin)
    for row in known:
        use = _default(row, one.version)
        model = said.get(row.name, "")
        if model and model != row.model:
            use = use._replace(model=model, unpriced="")
        yield use
    if known:
        return
    for name, model in said.items():
        component = _component(name.rpartition(".")[2])
        yield Use(component, f"{plugin}.{name}", plugin, model, one.version)


def _defaults_in_text(one: Distribution) -> dict[str, str]:
    """Model by class, where the class's ``__init__`` has one as the default of ``model``.

    A class is named with the folders it is in below the plugin's own, as it is public there.
    """
    found: dict[str, str] = {}
    for file in one.files or ():
        if file.suffix == ".py" and file.parts[:2] == ("livekit", "plugins"):
            try:
                tree = ast.parse(Path(str(file.locate())).read_text(encoding="utf-8"))
            except (OSError, SyntaxError, ValueError):
                continue  # a file that is gone or no Python: the class keeps what our table says
            for node in ast.walk(tree):
                if isinstance(node, ast.ClassDef) and _component(node.name):
                    model = _default_of(node)
                    if model:
                        found.setdefault(".".join((*file.parts[3:-1], node.name)), model)
    return found


def _default_of(of: ast.ClassDef) -> str:
    for method in of.body:
        if isinstance(method, ast.FunctionDef) and method.name == "__init__":
            wanted = method.args
            names = [a.arg for a in wanted.kwonlyargs]
            given = dict(zip(names, wanted.kw_defaults, strict=True))
            late = wanted.args[len(wanted.args) - len(wanted.defaults) :]
            given |= dict(zip([a.arg for a in late], wanted.defaults, strict=True))
            return _text(given.get("model")) or ""
    return ""


# -- an agent's file ----------------------------------------------------------------------------


def named_in(agent: Path) -> list[Use]:
    """The models that a file names, and the defaults of what it makes without naming one.

    Args:
        agent: A Python file.

    Raises:
        OSError, SyntaxError, ValueError: As :func:`~runguard_otel.cli.agent_file.parsed`.
    """
    tree = parsed(agent)
    names = _imported(tree)
    uses = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            made = _made(node, names)
            if made is not None:
                uses.append(made)
            elif _calls_a_session(node):
                uses += _by_name(node)
    return sorted(uses, key=lambda use: (int(use.where.removeprefix("line ")), use))


def _imported(tree: ast.Module) -> dict[str, str]:
    """Full name by the name it has in the file."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for one in node.names:
                first = one.name.partition(".")[0]
                names[one.asname or first] = one.name if one.asname else first
        elif isinstance(node, ast.ImportFrom) and node.module:
            for one in node.names:
                names[one.asname or one.name] = f"{node.module}.{one.name}"
    return names


def _full(called: ast.expr, names: dict[str, str]) -> str:
    """``livekit.plugins.openai.LLM`` for ``oa.LLM``; ``""`` of what is no name."""
    text = ast.unparse(called)
    first, _, rest = text.partition(".")
    if first not in names:
        return ""
    return f"{names[first]}.{rest}" if rest else names[first]


def _made(call: ast.Call, names: dict[str, str]) -> Use | None:
    """The model that a call makes; ``None`` of any other call."""
    full = _full(call.func, names)
    if full.startswith("livekit.plugins."):
        plugin, _, name = full.removeprefix("livekit.plugins.").partition(".")
    elif full.startswith("livekit.agents.inference."):
        plugin, name = "inference", full.removeprefix("livekit.agents.inference.")
    else:
        return None
    parts = name.split(".")
    which = next((n for n, part in enumerate(parts) if _component(part)), None)
    if which is None:
        return None
    made = ".".join(parts[: which + 1])
    if made == f"{parts[which].lower()}.{parts[which]}":  # deepgram.stt.STT is deepgram.STT
        made = parts[which]
    where = f"line {call.lineno}"
    component = _component(parts[which])
    what = f"{plugin}.{name}"
    if parts[which + 1 :] not in ([], ["from_model_string"]):  # openai.LLM.with_azure(...)
        return Use(component, what, parts[-1], _asked(call) or "unknown", where, _ELSEWHERE)
    known = next((row for row in _known(plugin) if row.name == made), None)
    provider = known.provider if known else "livekit" if plugin == "inference" else plugin
    asked = _asked(call)
    if asked is None:
        return Use(component, what, provider, "unknown", where, _COMPUTED)
    if not asked:
        model, why = (known.model, known.unpriced) if known else ("unknown", "")
    else:
        model, why = asked, ""
    billed = _as_billed(model, call, component)
    if billed is None:
        return Use(component, what, provider, f"{model}:unknown", where, why or _TIER_COMPUTED)
    return Use(component, what, provider, billed, where, why)


def _component(name: str) -> str:
    """Of a class; ``""`` of what is none of a model."""
    if not name[:1].isupper() or name.endswith(("Adapter", "Options", "Stream")):
        return ""
    return next((part for word, part in COMPONENT_OF.items() if word in name), "")


def _asked(call: ast.Call) -> str | None:
    """The model a call names, ``""`` if none; ``None`` if it is computed."""
    given = {k.arg: k.value for k in call.keywords}
    if None in given:
        return None  # **options may name one
    value = given.get("model", given.get("model_id", call.args[0] if call.args else None))
    return "" if value is None else _text(value)


def _as_billed(model: str, call: ast.Call, component: str) -> str | None:
    """With what else of a call has a price of its own: several languages, a service tier.

    Returns:
        ``None`` if the tier cannot be read.
    """
    given = {k.arg: k.value for k in call.keywords}
    if component == "stt" and _text(given.get("language")) == "multi" and ":" not in model:
        return f"{model}:multi"
    tier = _tier(given) if component == "llm" else None
    if tier is None:
        return model
    name = tier.attr if isinstance(tier, ast.Attribute) else _text(tier)
    return None if name is None else f"{model}{tier_suffix(name)}"


def _tier(given: Mapping[str | None, ast.expr]) -> ast.expr | None:
    """``service_tier="priority"``, ``types.ServiceTier.PRIORITY``, or in ``extra_kwargs={...}``."""
    handed_on = given.get("extra_kwargs")
    if "service_tier" in given or not isinstance(handed_on, ast.Dict):
        return given.get("service_tier")
    named = zip(handed_on.keys, handed_on.values, strict=True)
    return next((its for key, its in named if _text(key) == "service_tier"), None)


def _calls_a_session(call: ast.Call) -> bool:
    return ast.unparse(call.func).rpartition(".")[2] in ("AgentSession", "Agent")


def _by_name(call: ast.Call) -> Iterator[Use]:
    """``AgentSession(stt="deepgram/nova-3:multi")``: LiveKit Inference."""
    for keyword in call.keywords:
        model = _text(keyword.value)
        if keyword.arg in _INFERENCE and model:
            yield Use(keyword.arg, f"{keyword.arg}=", "livekit", model, f"line {call.lineno}")


def _text(value: ast.expr | None) -> str | None:
    if isinstance(value, ast.Constant) and isinstance(value.value, str):
        return value.value
    return None
