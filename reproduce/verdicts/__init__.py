"""What runs say of the paper's numbers and claims."""
