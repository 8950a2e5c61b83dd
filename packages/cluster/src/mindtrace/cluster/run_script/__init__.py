"""What `RunScriptWorker` is made of: what a job says, its output, and the end of all it started."""
