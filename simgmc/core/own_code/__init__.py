"""Code of the user's own by import path, ``"package.module:name"``: found, named before it runs, told by its digest.
Nothing here needs torch. May import the other parts of core.
"""
