"""Which extra of the package brings what the light install lacks."""

EXTRAS = {
    "tensorflow": "train",
    "keras": "train",
    "yaml": "train",
    "litert_quantizer": "train",
    "matplotlib": "train",
    "scipy": "train",
    "skimage": "demo",
    "jinja2": "report",
    "dlib": "identity",
    "face_recognition_models": "identity",
    "tensorflow_model_optimization": "qat",
    "tf_keras": "qat",
    "onnx": "onnx",
    "onnxruntime": "onnx",
    "tf2onnx": "onnx",
    "gradio": "web",
    "dask": "bulk",
    "distributed": "bulk",
    "pyarrow": "parquet",
}
"""Module -> the extra that brings it."""
