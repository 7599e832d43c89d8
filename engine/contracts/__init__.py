"""What every part must do: `ouro parts check` and the tests try the same rules."""
