"""Tokenizers of each kind, trained here on a few sentences in many scripts, as `tokenizer.json` files."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

SENTENCES = (
    "The quick brown fox jumps over the lazy dog, and the dog doesn't mind at all.",
    "I loved this film: it was great, warm and funny. I hated that one; it was bad, cold and dull.",
    "Größe, naïve, façade, Ångström, œuvre, ŁÓDŹ, Čeština, İstanbul ve soğuk çay.",
    "Быстрая коричневая лиса. Κόκκινη ζώνη. השועל המהיר. الثعلب البني السريع.",
    "तेज़ भूरी लोमड़ी। দ্রুত বাদামী শিয়াল। สุนัขจิ้งจอกสีน้ำตาล. 빠른 갈색 여우. 素早い茶色の狐。 敏捷的棕色狐狸。",
    "1 2 3 42 1,000.50 3/4 a@b.example https://example.org/?q=1&r=2 #tag $5 50% (x) [y] {z} <w> :-) 👍🏽 👨‍👩‍👧 🇩🇪",
)
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
ROBERTA = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")


def train_word_piece() -> Tokenizer:
    """Return a tokenizer such as BERT's."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    _train(tokenizer, trainers.WordPieceTrainer(vocab_size=500, special_tokens=list(SPECIAL), show_progress=False))
    return _frame(tokenizer, "[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1")


def train_byte_level() -> Tokenizer:
    """Return a tokenizer such as RoBERTa's."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=600, special_tokens=list(ROBERTA), initial_alphabet=alphabet, show_progress=False
    )
    _train(tokenizer, trainer)
    end, start = ((word, ROBERTA.index(word)) for word in ("</s>", "<s>"))
    tokenizer.post_processor = processors.RobertaProcessing(end, start, add_prefix_space=False)
    return tokenizer


def train_unigram() -> Tokenizer:
    """Return a tokenizer such as those that SentencePiece makes, of ALBERT or XLM-RoBERTa."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=400, special_tokens=list(ROBERTA), unk_token="<unk>", show_progress=False
    )
    _train(tokenizer, trainer)
    return _frame(tokenizer, "<s> $A </s>", "<s> $A </s> </s> $B </s>")


def train_word_level() -> Tokenizer:
    """Return a tokenizer of whole words, which adds no special tokens and pads on the left."""
    tokenizer = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents()])
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    _train(tokenizer, trainers.WordLevelTrainer(vocab_size=300, special_tokens=list(SPECIAL), show_progress=False))
    tokenizer.enable_padding(direction="left", pad_id=0, pad_token="[PAD]")
    return tokenizer


KINDS: dict[str, Callable[[], Tokenizer]] = {
    "word-piece": train_word_piece,
    "byte-level": train_byte_level,
    "unigram": train_unigram,
    "word-level": train_word_level,
}


def write_tokenizer(folder: Path, kind: str = "word-piece", name: str = "tokenizer.json") -> Path:
    """Write the file of a tokenizer of one of ``KINDS``."""
    path = folder / name
    path.write_text(_train_once(kind), encoding="utf-8")
    return path


@cache
def _train_once(kind: str) -> str:
    """Return the file of a tokenizer: tokens that are equally good come in another order each time."""
    return KINDS[kind]().to_str()


def _train(tokenizer: Tokenizer, trainer: trainers.Trainer) -> None:
    tokenizer.train_from_iterator([sentence for sentence in SENTENCES for _ in range(3)], trainer)


def _frame(tokenizer: Tokenizer, single: str, pair: str) -> Tokenizer:
    """Let a tokenizer add special tokens."""
    words = {word for word in (*single.split(), *pair.split()) if not word.startswith("$")}
    known = [(word, tokenizer.token_to_id(word)) for word in sorted({word.partition(":")[0] for word in words})]
    tokenizer.post_processor = processors.TemplateProcessing(single=single, pair=pair, special_tokens=known)
    return tokenizer
