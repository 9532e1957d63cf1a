"""The verbs and their options, by what they take: a scenario, runs, a network, a part's name. What a verb does is in
the other files of this folder's parent, which are loaded when it is called: so ``--help`` loads no network and no
torch. May import every other room.
"""
