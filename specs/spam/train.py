"""Make up messages, train a bag of words on them, and write `spam.joblib`.

The same bytes come out of every run with the same package versions.
"""

import hashlib
from pathlib import Path

import joblib
import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline

SEED = 0
MODEL_FILE = Path(__file__).resolve().parent / "spam.joblib"
SPAM = ["win", "free", "prize", "money", "claim", "click", "cash", "offer", "urgent", "winner", "credit", "bonus"]
HAM = ["lunch", "meeting", "report", "tomorrow", "home", "train", "birthday", "notes", "dinner", "project", "doctor"]
BOTH = ["the", "a", "you", "we", "now", "please", "call", "at", "for", "today", "your", "my", "is", "and"]


def messages(count: int) -> tuple[list[str], np.ndarray]:
    """Messages of words drawn by chance; some words are likelier in spam."""
    draw = np.random.default_rng(SEED)
    labels = draw.choice(["ham", "spam"], count)
    texts = []
    for label in labels:
        own, other = (SPAM, HAM) if label == "spam" else (HAM, SPAM)
        words = [*(draw.choice(own if draw.random() < 0.75 else other) for _ in range(4)), *draw.choice(BOTH, 4)]
        draw.shuffle(words)
        texts.append(" ".join(words).capitalize() + draw.choice([".", "!", "?"]))
    return texts, labels


def main() -> None:
    """Fit on 70 % of the messages, report the accuracy on the other 30 %, and save the pipeline."""
    texts, labels = messages(600)
    x_train, x_test, y_train, y_test = train_test_split(texts, labels, test_size=0.3, random_state=SEED)
    pipeline = make_pipeline(TfidfVectorizer(ngram_range=(1, 2), max_features=200), LogisticRegression(C=5))
    pipeline.fit(x_train, y_train)
    del pipeline[0]._stop_words_id  # an address in memory, which differs from run to run

    # zlib rather than gzip: a gzip header holds the time of writing, so two runs would differ.
    joblib.dump(pipeline, MODEL_FILE, compress=("zlib", 9))

    content = MODEL_FILE.read_bytes()
    print(f"{MODEL_FILE.name}: {len(content):,} bytes")
    print(f"held-back accuracy: {pipeline.score(x_test, y_test):.4f} on {len(y_test)} messages")
    print(f"sha256: {hashlib.sha256(content).hexdigest()}")


if __name__ == "__main__":
    main()
