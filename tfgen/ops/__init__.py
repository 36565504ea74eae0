"""Pure functions of tensors: the papers' equations, without variables or files."""
