"""What `pretrain` is made of: text in (corpus), exercises made from it (practice), packed rows, the optimizer."""
