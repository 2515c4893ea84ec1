"""Load, ask and convert estimators, for scikit-learn and the boosting libraries alike."""
