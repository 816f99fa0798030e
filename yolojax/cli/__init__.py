"""The `yolojax` command: one small file a verb."""
