"""Couriers: one module for each way a message can leave the house."""
