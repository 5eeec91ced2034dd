"""Trace every OpenAI and LangChain call of a process."""
