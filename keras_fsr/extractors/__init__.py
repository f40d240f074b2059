"""Feature extractors: an image in, feature maps for the perceptual loss out."""
