"""What `make bench` runs. Figures are ratios within one run wherever they can be: machines are shared and noisy."""
