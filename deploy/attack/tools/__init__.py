"""What the attacks share: the system that is attacked, who watches it, the clients, and the row that comes out."""
