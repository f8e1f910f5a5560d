"""Manifolds on which samples move: spheres, tori, rotations."""

from kinetic_jax.manifolds._manifold import Manifold as Manifold
from kinetic_jax.manifolds._rotations import SpecialOrthogonal as SpecialOrthogonal
from kinetic_jax.manifolds._sphere import Sphere as Sphere
from kinetic_jax.manifolds._torus import FlatTorus as FlatTorus
