"""Scripts of the repository: generate files, install servers."""
