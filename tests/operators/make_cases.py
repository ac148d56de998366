"""Writes the cases of tests/operators/*.txt: graphs whose result PyTorch computed.

Run with torch installed: python tests/operators/make_cases.py
Each case is a graph in text form whose inputs are constants; the first output is computed, the second expected.
"""

import json
import pathlib

import torch
import torch.nn.functional as F

FOLDER = pathlib.Path(__file__).parent
torch.manual_seed(0)


def quarters(*shape, low=-8, high=8):
    """Multiples of 1/4, which print short and are exact."""
    return torch.randint(low, high + 1, shape).float() / 4


def constant(label, value):
    value = value.detach().float()
    data = [float(f"{v:.7g}") for v in value.flatten().tolist()]
    return f"%{label} = constant {{data={json.dumps(data)}}} : {list(value.shape)}\n"


class File:
    def __init__(self, name):
        self.name, self.cases = name, []

    def case(self, call, torch_expression, **inputs):
        """`call` in text form over the inputs' labels; the torch expression over the same names."""
        scope = {"F": F, "torch": torch, **inputs}
        expected = eval(torch_expression, scope)
        text = f"// {torch_expression}\nmodel {json.dumps(call)}\n"
        text += "".join(constant(label, value) for label, value in inputs.items())
        text += f"%actual = {call}\n" + constant("expected", expected)
        text += 'output "actual" = %actual\noutput "expected" = %expected\n'
        self.cases.append(text)

    def write(self):
        (FOLDER / f"{self.name}.txt").write_text("\n---\n\n".join(self.cases))


conv = File("conv")
x = quarters(2, 4, 5, 6)
w = quarters(6, 4, 3, 2)
b = quarters(6)
conv.case("conv(%x, %w, %b)", "F.conv2d(x, w, b)", x=x, w=w, b=b)
conv.case("conv(%x, %w) {stride=[2, 3], padding=[1, 2, 1, 2]}", "F.conv2d(x, w, None, (2, 3), (1, 2))", x=x, w=w)
conv.case("conv(%x, %w) {padding=[0, 1, 2, 3]}", "F.conv2d(F.pad(x, (1, 3, 0, 2)), w)", x=x[:1], w=w)
conv.case("conv(%x, %w) {dilation=[2, 3], padding=[1, 1, 1, 1]}", "F.conv2d(x, w, None, 1, 1, (2, 3))", x=x, w=w)
conv.case("conv(%x, %w, %b) {groups=2}", "F.conv2d(x, w, b, groups=2)", x=x, w=quarters(6, 2, 3, 3), b=b)
conv.case("conv(%x, %w) {groups=4, padding=[1, 1, 1, 1], stride=[2, 2]}", "F.conv2d(x, w, None, 2, 1, 1, 4)", x=x, w=quarters(4, 1, 3, 3))
conv.case("conv(%x, %w) {groups=4, padding=[1, 1, 1, 1]}", "F.conv2d(x, w, None, 1, 1, 1, 4)", x=x, w=quarters(8, 1, 3, 3))
conv.case("conv(%x, %w, %b)", "F.conv2d(x, w, b)", x=x, w=quarters(6, 4, 1, 1), b=b)
conv.case("conv(%x, %w) {stride=[3, 3]}", "F.conv2d(x, w, None, 3)", x=x, w=quarters(5, 4, 1, 1))
conv.case("conv(%x, %w) {padding=[2, 2, 2, 2]}", "F.conv2d(x, w, None, 1, 2)", x=quarters(1, 3, 1, 1), w=quarters(2, 3, 5, 5))
conv.case("conv(%x, %w, %b) + leaky_relu {slope=0.25}", "F.leaky_relu(F.conv2d(x, w, b), 0.25)", x=x, w=w, b=b)
conv.case("conv(%x, %w) + scale_shift(%s, %t) + relu + add(%r) + mul(%r)",
          "(F.relu(F.conv2d(x, w) * s[:, None, None] + t[:, None, None]) + r) * r",
          x=x[:1], w=quarters(3, 4, 3, 3), s=quarters(3), t=quarters(3), r=quarters(1, 3, 3, 4))
conv.case('conv_chain(%x) ["dw" conv(%d, %e) {groups=4, padding=[1, 1, 1, 1]} + relu6 "pw" conv(%w) + relu]',
          "F.relu(F.conv2d(F.relu6(F.conv2d(x, d, e, 1, 1, 1, 4)), w))",
          x=x[:1], d=quarters(4, 1, 3, 3), e=quarters(4), w=quarters(3, 4, 1, 1))
conv.write()

pool = File("pool")
x = quarters(2, 2, 5, 7)
pool.case("max_pool(%x) {kernel=[3, 2], stride=[2, 2]}", "F.max_pool2d(x, (3, 2), 2)", x=x)
pool.case("max_pool(%x) {kernel=[3, 3], stride=[2, 2], padding=[1, 1, 1, 1]}", "F.max_pool2d(x, 3, 2, 1)", x=x - 3)
pool.case("max_pool(%x) {kernel=[2, 2], stride=[2, 2], ceil_mode=true}", "F.max_pool2d(x, 2, 2, ceil_mode=True)", x=x)
pool.case("max_pool(%x) {kernel=[2, 3], dilation=[2, 2], padding=[1, 1, 1, 1]}", "F.max_pool2d(x, (2, 3), 1, 1, 2)", x=x)
for include in ("true", "false"):
    python = include.capitalize()
    pool.case(f"average_pool(%x) {{kernel=[3, 3], stride=[2, 2], padding=[1, 1, 1, 1], count_include_pad={include}}}",
              f"F.avg_pool2d(x, 3, 2, 1, False, {python})", x=x)
    pool.case(f"average_pool(%x) {{kernel=[3, 3], stride=[3, 3], padding=[1, 1, 1, 1], ceil_mode=true, count_include_pad={include}}}",
              f"F.avg_pool2d(x, 3, 3, 1, True, {python})", x=x)
    pool.case(f"average_pool(%x) {{kernel=[2, 2], stride=[3, 3], ceil_mode=true, count_include_pad={include}}}",
              f"F.avg_pool2d(x, 2, 3, 0, True, {python})", x=x)
pool.case("max_pool(%x) {kernel=[3, 3], padding=[1, 1, 1, 1]}", "F.max_pool2d(x, 3, 1, 1)", x=quarters(1, 3, 1, 1))
pool.case("global_average_pool(%x)", "F.adaptive_avg_pool2d(x, 1)", x=x)
pool.case("global_max_pool(%x)", "F.adaptive_max_pool2d(x, 1)", x=x - 5)
pool.write()

norm = File("normalisation")
x, s, t = quarters(2, 3, 2, 3), quarters(3), quarters(3)
m, v = quarters(3), quarters(3, low=1, high=8)
norm.case("batch_norm(%x, %s, %t, %m, %v)", "F.batch_norm(x, m, v, s, t)", x=x, s=s, t=t, m=m, v=v)
norm.case("batch_norm(%x, %s, %t, %m, %v) {epsilon=0.25}", "F.batch_norm(x, m, v, s, t, eps=0.25)", x=x[:, :, 0, 0], s=s, t=t, m=m, v=v)
norm.case('batch_norm(%x, %s, %t) {statistics="batch", epsilon=0.001}', "F.batch_norm(x, None, None, s, t, True, 0.1, 0.001)", x=x, s=s, t=t)
norm.case("scale_shift(%x, %s, %t)", "x * s[:, None, None] + t[:, None, None]", x=x, s=s, t=t)
x = quarters(1, 7, 2, 2)
norm.case("lrn(%x) {size=5, alpha=0.5, beta=0.75, bias=2}", "F.local_response_norm(x, 5, 0.5, 0.75, 2)", x=x)
norm.case("lrn(%x) {size=3, alpha=0.0001, beta=0.5, bias=1}", "F.local_response_norm(x, 3, 0.0001, 0.5, 1)", x=x)
norm.case("lrn(%x) {size=9, alpha=1, beta=0.75, bias=1}", "F.local_response_norm(x, 9, 1, 0.75, 1)", x=x[:, :2])
# ONNX puts the odd neighbour of an even window after the channel, PyTorch before.
norm.case("lrn(%x) {size=4, alpha=1, beta=0.75, bias=1}", "F.local_response_norm(x.flip(1), 4, 1, 0.75, 1).flip(1)", x=x)
norm.case("softmax(%x) {axis=1}", "F.softmax(x, 1)", x=x)
norm.case("softmax(%x) {axis=0}", "F.softmax(x, 0)", x=torch.tensor([1000.0, 1001.0, -1000.0]))
norm.write()

elementwise = File("elementwise")
x = quarters(2, 9, low=-16, high=32)
for call, expression in [
    ("relu(%x)", "F.relu(x)"), ("relu6(%x)", "F.relu6(x)"), ("leaky_relu(%x) {slope=0.1}", "F.leaky_relu(x, 0.1)"),
    ("clip(%x) {min=-0.5, max=2}", "x.clamp(-0.5, 2)"), ('clip(%x) {min=1, max="inf"}', "x.clamp(min=1)"),
    ("sigmoid(%x)", "x.sigmoid()"), ("silu(%x)", "F.silu(x)"),
    ("hard_sigmoid(%x) {alpha=0.25, beta=0.5}", "(x * 0.25 + 0.5).clamp(0, 1)"), ("hard_swish(%x)", "F.hardswish(x)"),
    ("tanh(%x)", "x.tanh()"), ("exp(%x)", "x.exp()"), ("neg(%x)", "-x"), ("abs(%x)", "x.abs()"),
]:
    elementwise.case(call, expression, x=x)
elementwise.case("sqrt(%x)", "x.sqrt()", x=x.abs())
elementwise.case("rsqrt(%x)", "x.rsqrt()", x=x.abs() + 0.25)
for word, symbol in [("add", "x + y"), ("sub", "x - y"), ("mul", "x * y"), ("div", "x / y"), ("max", "torch.maximum(x, y)"), ("min", "torch.minimum(x, y)")]:
    elementwise.case(f"{word}(%x, %y)", symbol, x=quarters(2, 3), y=quarters(2, 3, low=1))
for a, b in [((2, 3, 2, 2), (2, 3, 1, 1)), ((3, 1, 1), (2, 3, 2, 2)), ((2, 1, 4), (3, 1)), ((), (2, 2)), ((1, 2, 1, 3), (2, 1, 2, 1)), ((4,), (2, 3, 4)), ((1, 1), (1,))]:
    elementwise.case("sub(%x, %y)", "x - y", x=quarters(*a), y=quarters(*b))
elementwise.write()

layout = File("layout")
x = quarters(2, 3, 2, 2)
layout.case("concat(%x, %y, %x) {axis=1}", "torch.cat([x, y, x], 1)", x=x, y=quarters(2, 1, 2, 2))
layout.case("concat(%x, %y) {axis=0}", "torch.cat([x, y], 0)", x=x, y=quarters(1, 3, 2, 2))
layout.case("concat(%x) {axis=3}", "x", x=x)
layout.case("transpose(%x) {permutation=[0, 2, 3, 1]}", "x.permute(0, 2, 3, 1)", x=x)
layout.case("transpose(%x) {permutation=[3, 1, 0, 2]}", "x.permute(3, 1, 0, 2)", x=x)
layout.case("reshape(%x) {shape=[2, 12]}", "x.flatten(1)", x=x)
layout.case("pad(%x) {before=[0, 1, 0, 2], after=[1, 0, 0, 1], value=-1.5}", "F.pad(x, (2, 1, 0, 0, 1, 0, 0, 1), value=-1.5)", x=x[:1, :2])
layout.case('pad(%x) {before=[0, 1], after=[0, 0], value="-inf"} + relu', "F.relu(F.pad(x, (1, 0), value=-torch.inf))", x=quarters(1, 2))
layout.case("identity(%x) {dropout=0.5}", "F.dropout(x, 0.5, False)", x=x)
layout.case("dense(%x, %w, %b)", "F.linear(x, w, b)", x=quarters(3, 5), w=quarters(4, 5), b=quarters(4))
layout.case("dense(%x, %w) + relu", "F.relu(F.linear(x, w))", x=quarters(2, 3), w=quarters(2, 3))
layout.write()
