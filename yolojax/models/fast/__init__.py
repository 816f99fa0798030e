"""Faster forms of layers for single platforms. forms.choose_forms selects them; folded.fold is for
inference on CPU. The plain layers are the definition.
"""
