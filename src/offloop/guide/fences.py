"""The one form of a code block, and how to find every block in a text.

A fence line is the language word, or the language word, a space and one pair of braces:

    A fence line: ```python { .bad #id title="worker.py" data-raises="ValueError: no" }

This module promises to see every fence that a reader of the source would call one, at any
indentation and in any container, and to name what is wrong with each: it never drops one.
It does not promise that the site shows the block; `offloop.testing` compares that.
"""

from __future__ import annotations

import difflib
import functools
import hashlib
import math
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from offloop.guide.timeline import wrong_shape

__all__ = ("CLASSES", "FLAGS", "KEYS", "Fault", "Fence", "scan", "text_lines")

RUN_LANGUAGES = ("python", "console")
CLASSES = ("bad", "no-copy", "run", "output", "annotate")
FLAGS = ("notest", "data-timeline")
BACKENDS = ("asyncio", "trio")
PLATFORMS = ("linux", "darwin", "win32")
LEAKS = ("task", "process", "thread", "fd")
# Highlighters know these as Python, but a block that must run has one spelling.
_ALIASES = {"py": "python", "python3": "python", "py3": "python", "pycon": "python", "ipython": "python"}

_OPENING = re.compile(r"(?P<prefix>[ \t>]*)(?P<ticks>`{3,}|~{3,})(?P<info>.*)")
_ON_LIST_MARKER = re.compile(r"[ \t>]*(?:[-*+]|\d+[.)])[ \t]+(?:`{3,}|~{3,})")
_FORM = re.compile(r'(?P<language>[a-z][a-z0-9+#.-]*)(?: \{ (?P<inside>(?:[^{}"]|"[^"]*")+) \})?')
_WORD = re.compile(r'(?P<key>[.#]?[A-Za-z_][\w:.-]*)(?:="(?P<value>[^"]*)")?(?=\s|$)')
_RAISES = re.compile(r"[A-Za-z_][\w.]*(?:: .+)?")


@dataclass(frozen=True)
class Fault:
    """What is wrong with one line, and what to write instead."""

    line: int
    text: str


@dataclass(frozen=True)
class Fence:
    """One code block as it is written.

    `line` and `end` are the 1-based lines of the opening and the closing fence; `content` has the
    lines between them without the container's indentation, each with its line end.
    """

    line: int
    end: int
    prefix: str
    language: str
    classes: frozenset[str]
    id: str | None
    flags: frozenset[str]
    values: Mapping[str, str] = field(hash=False)
    content: str
    faults: tuple[str, ...] = ()

    @property
    def runs(self) -> bool:
        """Whether this language is one that the page runner executes."""
        return self.language in RUN_LANGUAGES

    @property
    def file(self) -> str | None:
        """The name of the file this block is on its page, such as `"worker.py"`."""
        title = self.values.get("title", "")
        return title if self.language == "python" and title.endswith(".py") else None

    @property
    def digest(self) -> str:
        """What tells this block from others, wherever it stands: the beginning of the hash of its text."""
        return hashlib.sha256(f"{self.language}\n{self.content}".encode()).hexdigest()[:16]

    @property
    def fixtures(self) -> tuple[str, ...]:
        """Names of the pytest fixtures that the block asks for, sorted."""
        return tuple(sorted(flag[8:] for flag in self.flags if flag.startswith("fixture:")))

    def key(self, name: str) -> str | None:
        """The value of the contract key `data-<name>`, or None."""
        return self.values.get("data-" + name)

    def seconds(self, name: str, default: float) -> float:
        """The value of a key that is a time in seconds."""
        value = self.key(name)
        return default if value is None else float(value)

    @property
    def backends(self) -> tuple[str, ...]:
        """The async backends the block runs on, one after another; empty for plain asyncio."""
        return _split(self.key("backend"))

    @property
    def platforms(self) -> tuple[str, ...]:
        """The values of `sys.platform` that the block runs on; empty for all."""
        return _split(self.key("only"))

    @property
    def shape(self) -> str | None:
        """What a picture of its run has to show (`data-timeline`); empty for whatever it shows, None for no picture."""
        return self.values.get("data-timeline", "" if "data-timeline" in self.flags else None)

    @property
    def excuse(self) -> str | None:
        """Why the block is never run (`notest`), or None."""
        return self.key("because") if "notest" in self.flags else None


def _split(value: str | None) -> tuple[str, ...]:
    return tuple(part.strip() for part in value.split(",")) if value else ()


def nearest(word: str, known: Iterable[str]) -> str:
    """`": did you mean X?"` for the best match, else the list of what is valid."""
    known = tuple(known)
    close = difflib.get_close_matches(word, known, 1, 0.5)
    return f"; did you mean {close[0]}?" if close else f"; valid: {', '.join(known)}"


# ---- values of keys: each check returns what is wrong, or "" ----------------------------------------


def _number(value: str) -> str:
    try:
        good = math.isfinite(float(value)) and float(value) > 0
    except ValueError:
        good = False
    return "" if good else "must be a number above 0"


def _one_of(known: tuple[str, ...]) -> Callable[[str], str]:
    return lambda value: "" if value in known else f"is not known{nearest(value, known)}"


def _some_of(known: tuple[str, ...]) -> Callable[[str], str]:
    check = _one_of(known)

    def each(value: str) -> str:
        parts = _split(value)
        if twice := next((part for part in parts if parts.count(part) > 1), ""):
            return f"names {twice} twice"
        return next((f"{part!r} {check(part)}" for part in _split(value) or ("",) if check(part)), "")

    return each


def _raises(value: str) -> str:
    return "" if _RAISES.fullmatch(value) else 'must be "Type" or "Type: part of the message"'


def _exit_code(value: str) -> str:
    return "" if re.fullmatch(r"\d{1,10}", value) else "must be an exit code, a whole number"


def _reason(value: str) -> str:
    return "" if value.strip() else "must be a reason"


KEYS: Mapping[str, tuple[tuple[str, ...], Callable[[str], str]]] = {
    "data-raises": (("python",), _raises),
    "data-blocks-loop": (("python",), _number),
    "data-leaks": (("python",), _one_of(LEAKS)),
    "data-hangs": (("python",), _number),
    "data-backend": (("python",), _some_of(BACKENDS)),
    "data-only": (RUN_LANGUAGES, _some_of(PLATFORMS)),
    "data-timeout": (RUN_LANGUAGES, _number),
    "data-because": (RUN_LANGUAGES, _reason),
    "data-exit": (("console",), _exit_code),
    "data-timeline": (("python",), wrong_shape),
}
"""Every contract key: the languages it belongs to, and the check of its value."""

_HIGHLIGHTER = ("title", "hl_lines", "linenums", "linenums_start")
_ON_A_FILE = ("data-only", "data-because")


# ---- one fence line -----------------------------------------------------------------------------------


def _parse(info: str) -> tuple[str, list[tuple[str, str | None]], list[str]]:
    """Language, words and faults of what stands behind the ticks."""
    form = _FORM.fullmatch(info)
    if form is None:
        language, words = _lenient(info)
        return language, words, [_wrong_form(info, language, words)]
    words: list[tuple[str, str | None]] = []
    rest = form["inside"] or ""
    while rest:
        word = _WORD.match(rest)
        if word is None:
            shown = rest.split()[0]
            return form["language"], words, [f'{shown!r} is not .class, #id, key="value" or a flag']
        words.append((word["key"], word["value"]))
        rest = rest[word.end() :].lstrip()
    return form["language"], words, []


def _lenient(info: str) -> tuple[str, list[tuple[str, str | None]]]:
    """What a fence line in another form was meant to say: its language is its first plain or dotted word."""
    found = [(m["key"], m["value"]) for m in _WORD.finditer(re.sub(r"[{},]", " ", info))]
    plain = [key for key, value in found if value is None and not key.startswith("#")]
    names = [key.lstrip(".").lower() for key in plain]
    runnable = [n for n in names if _ALIASES.get(n, n) in RUN_LANGUAGES]
    language = (runnable or names or ["text"])[0]
    words = [(key, value) for key, value in found if value is not None or key.lstrip(".").lower() != language]
    return _ALIASES.get(language, language), words


def _wrong_form(info: str, language: str, words: list[tuple[str, str | None]]) -> str:
    if not info:
        return "a fence needs a language word; write text for plain text"
    inside = " ".join(key if value is None else f'{key}="{value}"' for key, value in words)
    meant = f"{language} {{ {inside} }}" if inside else language
    return f"{info!r} is not `word` or `word {{ ... }}`; did you mean `{meant}`?"


@functools.cache
def _languages() -> frozenset[str]:
    """Every name the highlighter knows; empty where it is not installed, and then nothing is checked."""
    try:
        from pygments.lexers import get_all_lexers
    except ImportError:
        return frozenset()
    return frozenset(alias for _, aliases, _, _ in get_all_lexers() for alias in aliases)


def _language_fault(language: str) -> str:
    if language in _ALIASES:
        return f"{language!r} would be shown and never run; did you mean python?"
    # A site may give meaning to any word (mermaid, for example); only what may have been meant to run is a fault.
    close = difflib.get_close_matches(language, RUN_LANGUAGES, 1, 0.7)
    if not close or language in _languages() or language in RUN_LANGUAGES:
        return ""
    return f"unknown language {language!r}; did you mean {close[0]}?"


def _word_fault(language: str, key: str, value: str | None) -> str:
    if key.startswith("."):
        known = tuple("." + name for name in CLASSES)
        return "" if value is None and key in known else f"unknown class {key!r}{nearest(key, known)}"
    if key.startswith("#"):
        return "" if value is None else f"an id has no value: {key}"
    if value is None:
        if key in FLAGS or (key.startswith("fixture:") and language == "python"):
            return ""
        return f"unknown flag {key!r}{nearest(key, (*FLAGS, 'fixture:NAME', *KEYS))}"
    if key in _HIGHLIGHTER:
        return ""
    if key not in KEYS:
        return f"unknown key {key!r}{nearest(key, (*KEYS, *_HIGHLIGHTER))}"
    languages, check = KEYS[key]
    if language not in languages:
        return f"{key} belongs on {' or '.join(languages)}, not on {language}"
    wrong = check(value)
    return f'{key}="{value}" {wrong}' if wrong else ""


def _combination_faults(fence: Fence) -> Iterator[str]:
    keys = {key for key in fence.values if key in KEYS}
    if "notest" in fence.flags and "data-because" not in keys:
        yield 'notest needs data-because="reason"'
    if "data-because" in keys and "notest" not in fence.flags:
        yield "data-because belongs to notest"
    if "notest" in fence.flags and not fence.runs:
        yield f"notest belongs on {' or '.join(RUN_LANGUAGES)}: {fence.language} is never run"
    if fence.file:
        if extra := sorted(keys - set(_ON_A_FILE)):
            yield f"{extra[0]} on a file: put it on the block that imports {fence.file}"
        if fence.fixtures:
            yield "a fixture on a file: put it on the block that imports it"
        yield from _file_name_faults(fence.file)
    if "data-hangs" in keys and (
        other := sorted(
            keys & {"data-raises", "data-blocks-loop", "data-leaks", "data-backend", "data-timeout"}
        )
    ):
        yield f"data-hangs runs in a process of its own and cannot be joined with {other[0]}"
    if "data-hangs" in keys and fence.fixtures:
        yield "data-hangs runs in a process of its own: it gets no fixtures"
    if fence.shape is not None:
        yield from _timeline_faults(fence)
    if "run" in fence.classes and (fence.language != "python" or fence.file):
        yield "a Run button belongs on a Python block without a file name"
    if "output" in fence.classes and fence.language != "text":
        yield "an output is written `text { .output }`"


def _timeline_faults(fence: Fence) -> Iterator[str]:
    if fence.language != "python":
        yield f"data-timeline belongs on python, not on {fence.language}"
    elif fence.file and "data-timeline" in fence.flags:
        yield f"data-timeline on a file: put it on the block that imports {fence.file}"
    if fence.backends or fence.key("hangs") is not None:
        yield "data-timeline shows one loop of asyncio, and cannot be joined with data-backend or data-hangs"


def _file_name_faults(name: str) -> Iterator[str]:
    stem = name.removesuffix(".py")
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", stem):
        yield f"{name!r} cannot be imported: a file of a page is one module name and .py"
    elif stem in sys.stdlib_module_names:
        yield f"{name!r} hides the standard library's module {stem}; choose another name"


def _content_faults(language: str, lines: list[str]) -> Iterator[str]:
    if language not in RUN_LANGUAGES:
        return
    if any("\t" in line for line in lines):
        yield "a tab inside a line of a block that runs: the site shows it as spaces; write \\t in a string"
    if any(re.match(r"[ \t]*-+8<-+", line) for line in lines):
        yield "a snippet line in a block that runs is not expanded: write the code on the page"
    if not any(line.strip() for line in lines):
        yield "the block is empty"


# ---- all fences of a text ---------------------------------------------------------------------------


def _without_prefix(line: str, prefix: str) -> str:
    """The line as the container shows it: quote marks and as much indentation as the fence has taken off."""
    quotes = prefix.count(">")
    if quotes:
        return re.sub(rf"^(?: *>){{{quotes}}} ?", "", line)
    indent = len(line) - len(line.lstrip(" "))
    return line[min(len(prefix), indent) :]


def _expanded(line: str) -> str:
    """The line with the tabs of its indentation as spaces, as Python-Markdown does it for all tabs."""
    code = line.lstrip(" \t>")
    return line[: len(line) - len(code)].expandtabs(4) + code


def _build(line: int, end: int, prefix: str, info: str, raw: list[str], closed: bool) -> Fence:
    language, words, faults = _parse(info.strip())
    if not faults and (wrong := _language_fault(language)):
        faults.append(wrong)
    if not faults:
        faults += [wrong for key, value in words if (wrong := _word_fault(language, key, value))]
        names = [key for key, value in words if value is not None or key.startswith("#")]
        faults += [f"{name} is given twice" for name in sorted({n for n in names if names.count(n) > 1})]
    if info.strip() and info[0].isspace():
        faults.append("nothing stands between the ticks and the language word")
    if not closed:
        faults.append("the fence is never closed")
    lines = [_without_prefix(_expanded(text), _expanded(prefix)) for text in raw]
    faults += _content_faults(language, lines)
    ids = [key[1:] for key, _ in words if key.startswith("#")]
    fence = Fence(
        line,
        end,
        prefix,
        language,
        frozenset(key[1:] for key, _ in words if key.startswith(".")),
        ids[0] if ids else None,
        frozenset(key for key, value in words if value is None and key[0] not in ".#"),
        {key: value for key, value in words if value is not None},
        "".join(text + "\n" for text in lines),
    )
    if not faults:
        faults += _combination_faults(fence)
    return replace(fence, faults=tuple(faults))


def _closing(lines: list[str], start: int, ticks: str) -> int | None:
    close = re.compile(rf"[ \t>]*{re.escape(ticks[0])}{{{len(ticks)},}}[ \t]*")
    return next((n for n in range(start, len(lines)) if close.fullmatch(lines[n])), None)


def _opens_comment(line: str) -> bool:
    """Whether an HTML comment starts on *line* and does not end there; inline code may speak of one."""
    text = re.sub(r"`[^`]*`", "", line)
    return "-->" not in text[text.rfind("<!--") :] if "<!--" in text else False


def text_lines(text: str) -> list[str]:
    """The lines of a text file without their ends; not `splitlines()`, which also cuts at form feeds and U+2028."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return lines[:-1] if lines[-1] == "" else lines


def scan(text: str, first_line: int = 1) -> tuple[list[Fence], list[Fault]]:
    """Every fence of *text*, and the faults of lines that look like one but cannot be.

    *first_line* is the number of the first line, for a text that is part of a file.
    """
    fences: list[Fence] = []
    faults: list[Fault] = []
    lines = text_lines(text)
    at = 0
    while at < len(lines):
        if _opens_comment(lines[at]):
            end = next((n for n in range(at + 1, len(lines)) if "-->" in lines[n]), None)
            if end is None:
                faults.append(Fault(first_line + at, "the HTML comment is never closed"))
                end = len(lines)
            hidden, _ = scan("\n".join(lines[at + 1 : end]), first_line + at + 1)
            faults += [
                Fault(f.line, "a block inside an HTML comment is neither shown nor run: delete it or show it")
                for f in hidden
                if f.runs or f.faults
            ]
            at = end + 1
            continue
        if _ON_LIST_MARKER.match(lines[at]):
            faults.append(
                Fault(
                    first_line + at,
                    "a fence cannot stand on the line of a list marker: give it a line of its own",
                )
            )
        opening = _OPENING.fullmatch(lines[at])
        if opening is None or ("`" in opening["info"] and opening["ticks"][0] == "`"):
            at += 1
            continue
        close = _closing(lines, at + 1, opening["ticks"])
        last = len(lines) if close is None else close
        fences.append(
            _build(
                first_line + at, first_line + last, opening["prefix"], opening["info"],
                lines[at + 1 : last], close is not None,
            )
        )  # fmt: skip
        at = last + 1
    return fences, faults
