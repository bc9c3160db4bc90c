"""What happens around training, one class a file; :mod:`mmnv3.engine` has them."""
