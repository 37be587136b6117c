"""What a training needs before it is started: memory per device, operations, time; from shapes alone."""
