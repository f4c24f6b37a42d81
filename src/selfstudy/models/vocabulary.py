"""What each token of a vocabulary says, and which notation a tokenizer can spell."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from transformers import PreTrainedTokenizerBase

from selfstudy.errors import ModelError
from selfstudy.judging.notation import ANGLE, BRACKET, Notation
from selfstudy.models.prompts import decode_completion, encode_completion

_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
# Every digit and operator that annotations use, the answer line, and steps on lines of their own.
_SOLUTION = (
    "Tom buys 12 pens.\n"
    "They cost 12*0.5-1/4=<<12*0.5-1/4=5.75>>5.75 dollars.\n"
    "So (30+68)*9=<<(30+68)*9=882>>882 and 4-9=<<4-9=-5>>-5.\n"
    "#### 5.75"
)


def token_texts(tokenizer: PreTrainedTokenizerBase) -> list[bytes]:
    """Return the bytes that each token adds when it is decoded after other text; special tokens add none.

    A completion is the concatenation of its tokens' bytes, apart from a decoder's treatment of a text's first token.

    Args:
        tokenizer: A fast tokenizer: byte-level, SentencePiece-like with or without byte fallback, WordPiece, or any
            other whose decoder treats each token alike wherever it stands.
    """
    backend = tokenizer.backend_tokenizer
    ids = range(len(tokenizer))
    tokens: list[str | None] = tokenizer.convert_ids_to_tokens(list(ids))
    special = {i for i, added in tokenizer.added_tokens_decoder.items() if added.special}
    kinds = set(_types(json.loads(backend.to_str())["decoder"]))
    if "ByteLevel" in kinds:
        alphabet = _byte_alphabet()
        return [
            b"" if i in special or t is None else _from_alphabet(t, alphabet) for i, t in zip(ids, tokens, strict=True)
        ]
    anchor = _anchor(tokenizer)
    before = backend.decode([anchor])
    texts = []
    for i, token, text in zip(ids, tokens, backend.decode_batch([[anchor, i] for i in ids]), strict=True):
        byte = _BYTE.fullmatch(token or "") if "ByteFallback" in kinds else None
        if byte:
            texts.append(bytes([int(byte[1], 16)]))
        elif i in special or token is None:
            texts.append(b"")
        elif not text.startswith(before):
            raise ModelError(
                f"token {token!r} (id {i}) changes the text before it when decoded ({before!r} became {text!r}); a "
                "tokenizer whose decoder looks at neighbours cannot be followed token by token; set sampling.hook: "
                "off, or use another model"
            )
        else:
            texts.append(text[len(before) :].encode())
    return texts


def choose_notation(tokenizer: PreTrainedTokenizerBase) -> Notation:
    """Return the first notation that a tokenizer can spell: angle, else bracket.

    Raises:
        ModelError: It can spell neither; says what each round trip gave.
    """
    failures = []
    for notation in (ANGLE, BRACKET):
        try:
            check_notation(tokenizer, notation)
        except ModelError as error:
            failures.append(str(error))
        else:
            return notation
    raise ModelError(f"{'; '.join(failures)}; use another model, or add what is missing to its vocabulary and train it")


def check_notation(tokenizer: PreTrainedTokenizerBase, notation: Notation) -> None:
    """Check that a worked solution in ``notation`` comes back exactly from encoding and decoding.

    Raises:
        ModelError: It does not; says where it differs.
    """
    text = notation.rewrite(_SOLUTION)
    back = decode_completion(encode_completion(text, tokenizer)[:-1], tokenizer)
    if back != text:
        at = next((i for i, (a, b) in enumerate(zip(text, back, strict=False)) if a != b), min(len(text), len(back)))
        start = max(0, at - 10)
        raise ModelError(
            f"this tokenizer cannot spell the {notation.name} notation: {text[start : at + 20]!r} came back as "
            f"{back[start : at + 20]!r}"
        )


def _types(decoder: Any) -> Iterator[str]:
    """Yield the type names in a tokenizer's decoder, nested ones included."""
    if isinstance(decoder, dict):
        yield decoder.get("type", "")
        for part in decoder.get("decoders", ()):
            yield from _types(part)


def _anchor(tokenizer: PreTrainedTokenizerBase) -> int:
    """Return an ordinary token to decode others behind."""
    ids: list[int] = tokenizer("0", add_special_tokens=False)["input_ids"]
    return ids[-1]


def _byte_alphabet() -> dict[str, int]:
    """Return GPT-2's characters for bytes: printable Latin-1 stands for itself, the rest follows from U+0100."""
    own = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in own]
    return {chr(byte): byte for byte in own} | {chr(256 + i): byte for i, byte in enumerate(others)}


def _from_alphabet(token: str, alphabet: dict[str, int]) -> bytes:
    # An added token is written as it reads ("+ 3="), with characters outside the alphabet.
    if all(character in alphabet for character in token):
        return bytes(alphabet[character] for character in token)
    return token.encode()
