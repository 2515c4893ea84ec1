"""Serves an iris forest on MLServer's sklearn runtime: ``serve_mlserver.py HTTP_PORT GRPC_PORT``, in its own folder."""

import json
import sys
from pathlib import Path

import joblib
from mlserver.cli import main
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier

http_port, grpc_port = map(int, sys.argv[1:])
features, species = load_iris(return_X_y=True)
joblib.dump(RandomForestClassifier(n_estimators=30, max_depth=5, random_state=0).fit(features, species), "iris.joblib")
ports = {"http_port": http_port, "grpc_port": grpc_port, "metrics_port": 0}
settings = {"host": "127.0.0.1", "debug": False, "parallel_workers": 0, **ports, "metrics_endpoint": None}
model = {
    "name": "iris",
    "implementation": "mlserver_sklearn.SKLearnModel",
    "platform": "sklearn_joblib",
    "versions": ["1"],
    "parameters": {"uri": "./iris.joblib", "version": "1"},
    "inputs": [{"name": "input", "datatype": "FP32", "shape": [-1, 4]}],
    "outputs": [{"name": "predict", "datatype": "INT64", "shape": [-1, 1]}],
}
Path("settings.json").write_text(json.dumps(settings))
Path("model-settings.json").write_text(json.dumps(model))
sys.argv = ["mlserver", "start", "."]
main()
