"""The environments in which `RunScriptWorker` runs commands."""
