"""Networks that the libraries lack, or that they give in another form than a backbone needs."""
