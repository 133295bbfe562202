"""Training: the walk of one minibatch, optimizers, schedules, evaluation, checkpoints."""
