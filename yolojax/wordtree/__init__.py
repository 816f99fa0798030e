"""WordTrees: the tree as arrays, its softmax, its files, and how it is built and matched."""
