"""The commands of `vtm`, by topic; `vtm.cli` registers them. What is heavy is imported inside a command."""
