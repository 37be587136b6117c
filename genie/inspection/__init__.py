"""What is in a data set: figures, pictures and videos of what the model will see."""
