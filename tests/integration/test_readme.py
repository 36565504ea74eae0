"""The README's example runs as it stands there."""

import re


def test_the_python_example_runs(root, tmp_path, monkeypatch):
    (example,) = re.findall(r"```python\n(.*?)```", (root / "README.md").read_text(), re.DOTALL)
    assert "epochs=20" in example
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(example.replace("epochs=20", "epochs=1"), names)
    assert names["images"].shape == (64, 16, 16, 1)
    assert (tmp_path / "digits.onnx").stat().st_size > 1000
