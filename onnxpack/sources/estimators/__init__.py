"""What scikit-learn and the boosting libraries share: loading, asking and converting estimators."""
