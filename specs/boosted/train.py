"""Train boosted trees on scikit-learn's bundled diabetes data and write `boosted.ubj`, XGBoost's own format.

The same bytes come out of every run with the same package versions.
"""

from pathlib import Path

import numpy as np
import xgboost
from sklearn.datasets import load_diabetes
from sklearn.metrics import r2_score
from sklearn.model_selection import train_test_split

SEED = 0
MODEL_FILE = Path(__file__).resolve().parent / "boosted.ubj"


def main() -> None:
    """Fit on 70 % of the patients, report R² on the other 30 %, and save the trees."""
    features, progression = load_diabetes(return_X_y=True)
    x_train, x_test, y_train, y_test = train_test_split(
        features.astype(np.float32), progression, test_size=0.3, random_state=SEED
    )
    trees = xgboost.XGBRegressor(n_estimators=60, max_depth=3, learning_rate=0.08, n_jobs=1, random_state=SEED)
    trees.fit(x_train, y_train)
    trees.save_model(MODEL_FILE)
    print(f"{MODEL_FILE.name}: {MODEL_FILE.stat().st_size:,} bytes")
    print(f"held-back R²: {r2_score(y_test, trees.predict(x_test)):.4f} on {len(y_test)} patients")


if __name__ == "__main__":
    main()
