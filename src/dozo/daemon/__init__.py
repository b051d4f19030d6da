"""The only place where things are wired together: settings, web server, worker, scheduler."""
