"""Pure array functions: no parameters, no config, no flax."""
