"""The guide's pages as data: which code blocks a page has and which of them are files.

`fences` knows the one form a code block may have, `pages` reads a whole page or the
docstrings of a module, `listings` writes the files of all pages to a folder, `add` copies
those of one pattern into a project, with the tests that `proofs` makes of its blocks.
Nothing here runs a block; that is `offloop.testing`.
"""
