"""Pictures of the console's pages, over a world of the browser tests."""
