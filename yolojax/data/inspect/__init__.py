"""What is in a data set and what is wrong with it; `yolojax check-data` prints it."""
