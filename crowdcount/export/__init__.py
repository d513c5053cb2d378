"""Export of density models to ONNX, OpenVINO and torch.export, with a run of each in its runtime."""
