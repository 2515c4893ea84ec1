"""Train the iris forest and write `iris.joblib`.

The same bytes come out of every run with the same package versions.
"""

import hashlib
from pathlib import Path

import joblib
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import train_test_split

SEED = 0
MODEL_FILE = Path(__file__).resolve().parent / "iris.joblib"


def main() -> None:
    """Fit on 70 % of the flowers, report the accuracy on the other 30 %, and save the forest."""
    features, species = load_iris(return_X_y=True)
    x_train, x_test, y_train, y_test = train_test_split(
        features, species, test_size=0.3, stratify=species, random_state=SEED
    )
    forest = RandomForestClassifier(n_estimators=30, max_depth=5, n_jobs=1, random_state=SEED)
    forest.fit(x_train, y_train)

    # zlib rather than gzip: a gzip header holds the time of writing, so two runs would differ.
    joblib.dump(forest, MODEL_FILE, compress=("zlib", 9))

    content = MODEL_FILE.read_bytes()
    print(f"{MODEL_FILE.name}: {len(forest.estimators_)} trees, {len(content):,} bytes")
    print(f"held-back accuracy: {forest.score(x_test, y_test):.4f} on {len(y_test)} flowers")
    print(f"sha256: {hashlib.sha256(content).hexdigest()}")


if __name__ == "__main__":
    main()
