#!/usr/bin/env bash
# ONNX Runtime: behind a fused MultiHeadAttention, quantize_dynamic refuses a model and quantize_static leaves it in float.
#
# Expected: a valid model that ONNX Runtime runs can be quantized by its own tools, or both refuse it.
# What it does (onnxruntime 1.32.0, onnx 1.23.2): types come from onnx, which knows none of the operators of com.microsoft that
# the transformer optimizer writes. `quantize_dynamic` raises "Unable to find data type for weight_name='c'" (known from
# several projects; c is a product, no weight). `quantize_static` writes a model: weights in 8 bits, products in float, a
# warning in the log for each tensor. The error's advice, DefaultTensorType, helps the first only. Pre-processing helps both,
# but asks for sympy or else `skip_symbolic_shape`; that helps neither.
# Who meets it: whoever fuses a transformer and quantizes it then. The static model is small, but computes in float.
# Way round: sympy and `quant_pre_process`, or the type of the operator's result in the graph's value_info; count the products
# in 8 bits afterwards, of which this model has 2. Output seen:
#   as it is             dynamic refused  static 0
#   DefaultTensorType    dynamic 2        static 0
#   skip_symbolic_shape  dynamic refused  static 0
#   quant_pre_process    dynamic 2        static 2
#   type in value_info   dynamic 2        static 2
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6 sympy==1.14.0
cd "$work" && venv/bin/python - <<'PY'
import logging

import numpy as np
import onnx
import onnxruntime as ort
from onnxruntime.quantization import CalibrationDataReader, quant_pre_process, quantize_dynamic, quantize_static

logging.disable()
x, w = (np.random.default_rng(0).standard_normal(shape, dtype=np.float32) for shape in ((2, 5, 64), (64, 64)))
text = """<ir_version: 10, opset_import: ["": 21, "com.microsoft": 1]> g (float[n, t, 64] x) => (float[n, t, 64] y) %s
{ a = com.microsoft.MultiHeadAttention<num_heads = 4>(x, x, x)  c = MatMul(a, w)  d = Relu(c)  y = MatMul(d, w) }"""
for name, types in {"as it is": "", "type in value_info": "<float[n, t, 64] a>"}.items():
    model = onnx.parser.parse_model(text % types)
    model.graph.initializer.append(onnx.numpy_helper.from_array(w / 8, "w"))
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, name)
    ort.InferenceSession(name).run(None, {"x": x})
for name in ("skip_symbolic_shape", "quant_pre_process"):
    quant_pre_process("as it is", name, skip_symbolic_shape=name == "skip_symbolic_shape")
found = []
for case in ("as it is", "DefaultTensorType", "skip_symbolic_shape", "quant_pre_process", "type in value_info"):
    name, options = ("as it is", {case: onnx.TensorProto.FLOAT}) if case == "DefaultTensorType" else (case, {})
    Rows = type("Rows", (CalibrationDataReader,), {"get_next": lambda self, rows=iter([{"x": x}]): next(rows, None)})
    quantize_static(name, "static", Rows(), extra_options=dict(options))
    nodes = onnx.load("static").graph.node
    small = {node.output[0] for node in nodes if node.op_type == "DequantizeLinear"}
    static = sum(node.op_type == "MatMul" and small.issuperset(node.input) for node in nodes)
    try:
        quantize_dynamic(name, "dynamic", extra_options=dict(options))
        dynamic = sum(node.op_type == "MatMulInteger" for node in onnx.load("dynamic").graph.node)
    except RuntimeError as error:
        dynamic = "refused" if "Unable to find data type for weight_name='c'" in str(error) else error
    found.append((dynamic, static))
    print(f"{case:19}  dynamic {dynamic!s:7}  static {static}")
assert found == [("refused", 0), (2, 0), ("refused", 0), (2, 2), (2, 2)], f"the behaviour has changed: {found}"
PY
echo "as described"
