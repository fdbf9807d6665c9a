"""AWS's services, as far as moto lacks them."""
