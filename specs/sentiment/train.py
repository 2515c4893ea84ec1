"""Make up reviews, train a tokenizer and a network on them, and write `tokenizer.json` and the weights.

The same bytes come out of every run with the same package versions on the same kind of CPU.
"""

import hashlib
import random
from pathlib import Path

import torch
from model import SentimentNet
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from torch import Tensor, nn

SEED = 0
FOLDER = Path(__file__).resolve().parent
TOKENIZER_FILE = FOLDER / "tokenizer.json"
WEIGHTS_FILE = FOLDER / "weights" / "sentiment.safetensors"
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]
VOCAB_SIZE = 450
STEPS = 400
BATCH = 64

GOOD = ["great", "lovely", "funny", "warm", "clever", "wonderful", "excellent", "charming", "fresh", "delicious"]
BAD = ["dull", "awful", "boring", "cold", "broken", "terrible", "stale", "rude", "slow", "disappointing"]
THINGS = ["film", "hotel", "meal", "book", "coffee", "service", "room", "story", "app", "music", "staff", "café"]
PEOPLE = ["We", "I", "My friends", "Everyone", "The whole family", "Nobody else"]
FORMS = [
    "The {thing} was {word}.",
    "{who} found the {thing} {word}!",
    "What a {word} {thing}",
    "{word}, simply {word}: that {thing} ...",
    "{who} said that the {thing} is {word} 😀",
    "An evening with {word} {thing} and a {other} one",
]
NEGATIONS = ["The {thing} was not {word}.", "{who} never called the {thing} {word}.", "It isn't {word}, this {thing}!"]


def make_reviews(count: int, seed: int) -> tuple[list[str], list[int]]:
    """Make up reviews of one or two sentences, with 1 for each that is good; a "not" turns a word round."""
    draw = random.Random(seed)
    texts, labels = [], []
    for _ in range(count):
        good = draw.random() < 0.5
        sentences = []
        for _ in range(draw.randint(1, 2)):
            negated = draw.random() < 0.25
            word = draw.choice(GOOD if good != negated else BAD)
            form = draw.choice(NEGATIONS if negated else FORMS)
            other = draw.choice(GOOD if good else BAD)
            sentences.append(form.format(thing=draw.choice(THINGS), who=draw.choice(PEOPLE), word=word, other=other))
        texts.append(" ".join(sentences))
        labels.append(int(good))
    return texts, labels


def train_tokenizer(texts: list[str]) -> Tokenizer:
    """Train a byte-level BPE, which knows every character: as RoBERTa's, but in lower case."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=VOCAB_SIZE, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
        ),
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    tokenizer.enable_padding(pad_id=1, pad_token="<pad>")
    return tokenizer


def make_tokens(tokenizer: Tokenizer, texts: list[str]) -> tuple[Tensor, Tensor]:
    """Return the ids and the mask of some texts, filled up to the longest of them."""
    rows = tokenizer.encode_batch(texts)
    return torch.tensor([row.ids for row in rows]), torch.tensor([row.attention_mask for row in rows])


def train(tokenizer: Tokenizer) -> SentimentNet:
    """Train on freshly made-up reviews."""
    net = SentimentNet(VOCAB_SIZE)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    for step in range(STEPS):
        texts, labels = make_reviews(BATCH, SEED + 1 + step)
        loss = nn.functional.cross_entropy(net(*make_tokens(tokenizer, texts)), torch.tensor(labels))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return net.eval()


def main() -> None:
    """Train, report the accuracy on reviews that were not seen, and save both files."""
    torch.manual_seed(SEED)
    torch.set_num_threads(1)  # the order of sums, and so the last bits, depends on the number of threads
    tokenizer = train_tokenizer(make_reviews(2_000, SEED)[0])
    net = train(tokenizer)
    tokenizer.save(str(TOKENIZER_FILE))
    WEIGHTS_FILE.parent.mkdir(exist_ok=True)
    save_file(net.state_dict(), WEIGHTS_FILE)

    texts, labels = make_reviews(1_000, SEED - 1)
    with torch.no_grad():
        found = net(*make_tokens(tokenizer, texts)).argmax(dim=1)
    print(f"held-back accuracy: {(found == torch.tensor(labels)).float().mean():.4f} on {len(texts)} reviews")
    for path in (TOKENIZER_FILE, WEIGHTS_FILE):
        print(f"{path.name}: {path.stat().st_size:,} bytes, sha256 {hashlib.sha256(path.read_bytes()).hexdigest()}")


if __name__ == "__main__":
    main()
