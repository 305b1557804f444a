"""The parts of the page that `Tree.to_html` makes: its frame, its look and its behaviour."""
