"""Make up passengers of a ship, train a pipeline on their mixed columns, and write `passengers.joblib`.

The same bytes come out of every run with the same package versions.
"""

import hashlib
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

SEED = 0
MODEL_FILE = Path(__file__).resolve().parent / "passengers.joblib"


def passengers(count: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Rows drawn by chance, and who survived: rather women, children and the first class."""
    draw = np.random.default_rng(SEED)
    frame = pd.DataFrame(
        {
            "pclass": draw.choice([1, 2, 3], count, p=[0.25, 0.2, 0.55]),
            "sex": draw.choice(["female", "male"], count, p=[0.35, 0.65]),
            "age": draw.gamma(6, 5, count).clip(0.5, 80).round(1).astype(np.float32),
            "fare": draw.exponential(30, count).round(2).astype(np.float32),
            "embarked": draw.choice(["C", "Q", "S"], count, p=[0.2, 0.1, 0.7]),
        }
    )
    score = 2.5 * (frame["sex"] == "female") - 0.9 * (frame["pclass"] - 2) - 0.03 * (frame["age"] - 30) - 1.0
    return frame, (draw.random(count) < 1 / (1 + np.exp(-score))).astype(np.int64)


def main() -> None:
    """Fit on 70 % of the passengers, report the accuracy on the other 30 %, and save the pipeline."""
    frame, survived = passengers(1500)
    x_train, x_test, y_train, y_test = train_test_split(frame, survived, test_size=0.3, random_state=SEED)
    columns = ColumnTransformer(
        [
            ("words", OneHotEncoder(handle_unknown="ignore"), ["sex", "embarked"]),
            ("numbers", StandardScaler(), ["age", "fare"]),
            ("class", "passthrough", ["pclass"]),
        ]
    )
    pipeline = Pipeline([("columns", columns), ("clf", LogisticRegression(max_iter=500))])
    pipeline.fit(x_train, y_train)

    # zlib rather than gzip: a gzip header holds the time of writing, so two runs would differ.
    joblib.dump(pipeline, MODEL_FILE, compress=("zlib", 9))

    content = MODEL_FILE.read_bytes()
    print(f"{MODEL_FILE.name}: {len(content):,} bytes")
    print(f"held-back accuracy: {pipeline.score(x_test, y_test):.4f} on {len(y_test)} passengers")
    print(f"sha256: {hashlib.sha256(content).hexdigest()}")


if __name__ == "__main__":
    main()
