"""Holding what was made against what it has to be: a converted checkpoint its source, a package its promises."""
