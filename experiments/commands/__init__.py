"""What the commands share: their command lines, a training's callbacks, and files of tasks, tables and figures."""
